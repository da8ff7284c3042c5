"""One service: the error-coded inference API over one bundle. No torch, no database."""
