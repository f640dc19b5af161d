"""What people see in a browser: the live page, the browser camera, the login, and the files that they are made of."""
