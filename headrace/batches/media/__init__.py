"""Images, sound and PDF files as parts of a batch's conversations: read from columns or folders, checked, kept once by their
hash, and referred to by the lines of the input. What asks a provider, and what lies in Redis, stays outside."""
