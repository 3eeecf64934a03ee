"""From a trained student, or a text encoder, to a smaller one."""
