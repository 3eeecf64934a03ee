"""The commands of `tfrs-distill`, one file each."""
