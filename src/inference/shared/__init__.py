"""On the process wall: what server and workers both import. No eventlet, no TensorFlow, no OpenVINO, no cv2."""
