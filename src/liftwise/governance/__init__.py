"""Who may do what, and the record of it; today: privacy at the door."""
