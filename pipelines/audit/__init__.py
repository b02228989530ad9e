"""What people read afterwards: why each sample was kept or dropped."""
