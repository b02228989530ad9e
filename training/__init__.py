"""The training half: reads shards through a manifest and nothing else of the data half."""
