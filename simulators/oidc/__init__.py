"""An OpenID Connect provider for tests: real discovery, keys and signatures, PKCE checked, and faults on demand."""
