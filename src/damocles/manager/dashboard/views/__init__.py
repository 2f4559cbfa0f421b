"""What each page shows: values in, values out. A page in JSON is such a value as it is."""
