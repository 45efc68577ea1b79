"""What lies behind an address: the storage libraries, what they are told, and what is made of their errors."""
