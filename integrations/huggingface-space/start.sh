#!/bin/sh
# Mixtura reads no secret from its file: the hash of the visitors' key comes from the Space.
set -e
config=$(mktemp)
cp mixtura.toml "$config"
if [ -n "$MIXTURA_SPACE_KEY" ]; then
  printf '\n[serve.keys.visitor]\nsha256 = "%s"\n' "$MIXTURA_SPACE_KEY" >> "$config"
fi
exec mixtura serve --config "$config" "$@"
