"""What stages cost, what a machine has, and who may start: plain values, so that they serve far machines as well."""
