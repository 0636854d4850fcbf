from nardis import get, main

async def index(req, res):
    await res.send("<h1>Index</h1>")

async def hello(req, res):
    await res.send(f"<h1>Hello, {req.params['name']}</h1>")

app = main({"routes": [get("/", index), get('/hello/:name/', hello)]})
