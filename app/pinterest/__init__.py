"""All that speaks to Pinterest: the client, what its answers mean, and the pace of writing."""
