"""What a history's or an item's vectors pass through: attention, decayed averages, layers."""
