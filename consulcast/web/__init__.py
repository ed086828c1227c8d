"""The HTTP endpoint: GoCast's URLs and the API, with no rules of its own."""
