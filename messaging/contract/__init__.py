"""The contract between repositories: what each service receives, written down and compared.

catalogue      the views of a module's events, with their JSON Schema
asyncapi       the catalogue as an AsyncAPI 3.0 document, and back
compatibility  whether data of one schema can be read by another
check          which services break when the catalogue changes, or their needs are not met
needs          the views and fields that a service reads
generate       a Python module of one service's views
page           the catalogue for human readers: Markdown and HTML
subscribers    the events that the producer would send, compared with the subscriptions
"""
