"""`memos demo`: a walk through the service, over HTTP only, so that it is also an example of the API."""
