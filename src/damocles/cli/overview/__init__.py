"""Views of the whole: a daemon at a glance, and all that is known of one sector."""
