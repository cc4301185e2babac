"""One module per group of paths: what a request is answered with. How it is read belongs in `requests`, how it is streamed in
`streaming`, in which shape in `views`.
"""
