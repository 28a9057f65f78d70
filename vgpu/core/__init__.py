"""The arithmetic of sharing a GPU, pure: share, profile, inventory, packing, objects, and every outward name."""
