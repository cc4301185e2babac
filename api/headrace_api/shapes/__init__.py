"""The shapes of requests and answers, one struct each, and the OpenAPI document that is made of them.

They describe, and check nothing: requests are read where they are used, which names the place of what is wrong. Fields that
readers take from here are taken nowhere else. `tests/contract/test_openapi.py` holds answers and document to each other.
"""
