"""Pages: HTML that needs no network, in which no text of a user's can become markup."""
