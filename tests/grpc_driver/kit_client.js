// Calls the endpoints of protobuf_kit.py by stubs made of its .proto file, and writes the replies as JSON.

const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [file, target] = process.argv.slice(2);
const definition = loader.loadSync(file, { keepCase: true, longs: String, enums: String });
const { Kit } = grpc.loadPackageDefinition(definition).xooai.kit;
const kit = new Kit(target, grpc.credentials.createInsecure());

const answered = (begin) =>
  new Promise((resolve) =>
    begin((error, reply) => resolve(error ? { code: error.code, details: error.details } : reply)));

const all = (call) =>
  new Promise((resolve) => {
    const found = [];
    call.on('data', (reply) => found.push(reply.value));
    call.on('end', () => resolve(found));
    call.on('error', (error) => resolve([...found, error.details]));
  });

const sent = (call, ...requests) => {
  requests.forEach((request) => call.write(request));
  call.end();
  return call;
};

async function main() {
  const image = { value: Buffer.from('GIF89a') };
  const [first, second] = ['a', 'b'].map((value) => ({ doc: { value } }));
  const read = await answered((done) => kit.Read({ doc: image, min_score: 0 }, done));
  const add = await answered((done) => kit.Add({ x: '4611686018427387904', y: '4611686018427387903' }, done));
  const turn = await answered((done) => kit.Turn({ page: { title: 'ä', colour: 'COLOUR_DARK_BLUE' } }, done));
  const join = await answered((done) => sent(kit.Join(done), { sep: '-' }, first, second));
  console.log(JSON.stringify({
    read: read.value,
    add: add.value,
    turn: [turn.title, turn.colour, turn.side, turn.limit.value],
    missing: await answered((done) => kit.Missing({ page: 7 }, done)),
    count: await all(kit.Count({ n: 3 })),
    join: join.value,
    talk: await all(sent(kit.Talk(), first, second)),
  }));
  kit.close();
}

main();
