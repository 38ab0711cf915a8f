"""The routes, by what they are about; each declares the role that it wants."""
