"""A run as one web page: claims first, tables, and from each number to the pixels behind it."""
