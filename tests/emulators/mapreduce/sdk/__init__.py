"""What steps find on their import path here."""
