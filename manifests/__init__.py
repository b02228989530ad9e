"""The data contract: documents, the object store, shards, index, ledger, rules, manifest."""
