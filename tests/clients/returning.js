// A camera on JavaScript's client, with its own defaults: node returning.js PORT PACKAGE TRANSPORTS PICTURE.
// Prints "up" when a prediction has come over a new connection and "down" when one has ended. Runs for ever.
'use strict';
const [port, name, transports, picture] = process.argv.slice(2);
const data = require('fs').readFileSync(picture);
const socket = require(name)(`http://127.0.0.1:${port}`, { transports: transports.split(',') });
let up = false;
socket.on('prediction', () => {
  if (!up) console.log('up');
  up = true;
});
socket.on('disconnect', () => {
  up = false;
  console.log('down');
});
setInterval(() => { if (socket.connected) socket.emit('receiveImage', data); }, 100);
