// The browser camera.
