// Sends frames over polling, binary as text: node frames.js PORT PACKAGE. Before a login each is refused, after it answered.
const [port, name] = process.argv.slice(2);
const io = require(name);
const SIZES = [8e3, 1e6, 6e6, 16 * 2 ** 20];
const fail = (why) => { console.error(why); process.exit(1); };
const socket = io(`http://127.0.0.1:${port}`, { transports: ["polling"], upgrade: false, forceBase64: true, reconnection: false });
const answers = [];
let wake = () => {};
for (const event of ["prediction", "frame_error"]) {
    socket.on(event, (text) => { answers.push(JSON.parse(text)); wake(); });
}
socket.on("disconnect", (reason) => fail(`disconnected: ${reason}`));
socket.on("connect_error", fail);
setTimeout(() => fail(`too slow; ${answers.length} answers`), 50000);
async function ask(size) {
    const count = answers.length;
    socket.emit("receiveImage", Buffer.alloc(size, 1));
    while (answers.length === count) await new Promise((resolve) => { wake = resolve; });
    return answers[count].error;
}
socket.on("connect", async () => {
    for (const size of SIZES) {
        const error = await ask(size);
        if (!/authenticate first/.test(error)) fail(`${size}: ${error}`);
    }
    const ok = await new Promise((resolve) => {
        socket.on("onAuthentication", resolve);
        socket.emit("authenticate", "alice", "wonder:land", "onAuthentication");
    });
    if (ok !== true) fail("not let in");
    for (const size of SIZES) {
        const error = await ask(size);
        if (/authenticate/.test(error)) fail(`${size}: ${error}`);
    }
    console.log(JSON.stringify(answers.map((answer) => answer.seq)));
    process.exit(0);
});
