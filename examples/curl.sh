#!/usr/bin/env bash
# Ask a running service (`secondlook serve`) with nothing but curl.
set -euo pipefail
cd "$(dirname "$0")"
service=http://localhost:8000

echo "== which text fits: the picture as a file"
answer=$(curl -s "$service/v1/similarity" -F images=@picture.png -F texts="a big red circle" -F texts="a small blue star")
echo "$answer"

echo "== the same picture by its key: nothing is uploaded"
key=$(sed 's/.*"key":"\([^"]*\)".*/\1/' <<< "$answer")
curl -s "$service/v1/similarity" -H 'Content-Type: application/json' \
    -d '{"images": [{"key": "'"$key"'"}], "texts": ["a big red circle", "a small blue star"]}'
echo

echo "== embeddings, as OpenAI's clients ask for them"
curl -s "$service/v1/embeddings" -H 'Content-Type: application/json' \
    -d '{"model": "fast", "input": "a big red circle", "encoding_format": "base64"}'
echo

echo "== at most two seconds for the answer"
curl -s "$service/v1/similarity" -H 'X-Deadline-Ms: 2000' -F images=@picture.png -F texts="a circle" -F texts="a star"
echo
