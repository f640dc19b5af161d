// The reference server with the least handler: node server.js. Prints its port, and for each line that it reads the frames so far.
'use strict';
const http = require('http').createServer();
const { Server } = require('socket.io');
const io = new Server(http, { maxHttpBufferSize: 16 * 1024 * 1024, perMessageDeflate: false });
let frames = 0;
io.on('connection', (socket) => {
  socket.on('receiveImage', () => { frames += 1; });
  socket.on('authenticate', (_name, _password, answer) => socket.emit(answer, true));
});
http.listen(0, '127.0.0.1', 4096, () => console.log(http.address().port));
process.stdin.on('data', () => console.log(frames));
process.stdin.on('end', () => process.exit(0));
