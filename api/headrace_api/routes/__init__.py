"""One module per group of paths: their answers. Requests are decoded in `requests`, streamed in `streaming`, and shaped in
`views`."""
