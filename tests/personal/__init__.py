"""What becomes of one person's data: masked, handed out, erased, pruned."""
