"""Users, roles, logins and signatures: who may come in."""
