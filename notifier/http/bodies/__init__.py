"""The bodies of requests and answers: what is read, and what OpenAPI says of both."""
