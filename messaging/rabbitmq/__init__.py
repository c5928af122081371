"""RabbitMQ: the only package that uses its client, pika (extra `rabbitmq`).

broker = connect(Settings(broker_url="amqp://localhost", topic="alunos"))
apply(TOPOLOGY, settings)
"""

from messaging.rabbitmq.broker import RabbitBroker, connect
from messaging.rabbitmq.provision import apply, plan, remove

__all__ = ["RabbitBroker", "apply", "connect", "plan", "remove"]
