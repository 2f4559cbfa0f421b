"""`doctor` of both programs: look at a machine, and report what is wrong and what to do."""
