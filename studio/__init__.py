"""The page: exhibits declared, everything else derived from the declaration."""
