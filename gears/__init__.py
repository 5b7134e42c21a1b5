"""The functions that are deployed to shards. `keymiss deploy` sends them; edit a copy and deploy that."""
