"""The contract between repositories: what each service receives, written down and compared.

catalogue      the views of a module's events, with their JSON Schema
asyncapi       the catalogue as an AsyncAPI 3.0 document, and back
compatibility  whether data of one schema can be read by another
check          who breaks when the catalogue changes, or when a service's needs are not met
needs          what a service reads
generate       a Python module of one service's views
page           the catalogue for people: Markdown and HTML
subscribers    what the producer would send, compared with who subscribes
"""
