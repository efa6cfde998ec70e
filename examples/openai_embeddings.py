"""Embed texts with OpenAI's own client (`pip install openai`), by a running service (`secondlook serve`)."""

from openai import OpenAI

client = OpenAI(base_url="http://localhost:8000/v1", api_key="unused")

answer = client.embeddings.create(model="accurate", input=["a big red circle", "a small blue star"])

for row in answer.data:
    print(row.index, len(row.embedding), row.embedding[:3])
