# A JSON-RPC server that does what its requests say: one thread reads, and each request has a thread of its own.
import json, os, sys, threading, time

framed = "--framed" in sys.argv
mcp = "--mcp" in sys.argv
lock = threading.Lock()
cancelled = {}
sleeps = {}
answers = {}
state = {}


def raw(data):
    with lock:
        os.write(1, data)


def say(message):
    message["jsonrpc"] = "2.0"
    text = json.dumps(message).encode()
    raw(b"Content-Length: %d\r\n\r\n" % len(text) + text if framed else text + b"\n")


def hear():
    if not framed:
        line = sys.stdin.buffer.readline()
        return json.loads(line) if line else None
    length = None
    while True:
        line = sys.stdin.buffer.readline()
        if not line:
            return None
        if not line.strip():
            return json.loads(sys.stdin.buffer.read(length))
        length = int(line.split(b":")[1])


def do(id, method, params):
    if method == "echo":
        return {key: value for key, value in params.items() if key != "_meta"}
    if method == "pid":
        return os.getpid()
    if method == "id":
        return id
    if method == "sleep":
        gone = cancelled.setdefault(id, threading.Event())
        if "says" in params:
            say({"method": "note", "params": {"text": params["says"]}})
        if gone.wait(params["s"]):
            raise InterruptedError
        return "slept"
    if method == "stubborn":
        time.sleep(params["s"])
        return "at last"
    if method == "fail":
        raise ValueError(params)
    if method == "count":
        state["count"] = state.get("count", 0) + 1
        return state["count"]
    if method == "die":
        time.sleep(params.get("after", 0))
        os._exit(params.get("code", 7))
    if method == "raw":
        raw(params["text"].encode("latin-1").replace(b"$ID", str(id).encode()))
        if params.get("die"):
            time.sleep(params.get("after", 0))
            os._exit(3)
        return params.get("then", "said") if params.get("answer", True) else None
    if method == "long":
        return "x" * params["bytes"]
    if method == "notes":
        for n in range(params["n"]):
            say({"method": "note", "params": {"n": n, "text": params.get("text", "")}})
        return "noted"
    if method == "progress":
        token = params["_meta"]["progressToken"] if mcp else params["workDoneToken"]
        for n in range(3):
            if mcp:
                say({"method": "notifications/progress", "params": {"progressToken": token, "progress": n}})
            else:
                say({"method": "$/progress", "params": {"token": token, "value": n}})
        return "progressed"
    if method == "ask":
        done = answers.setdefault(f"q{id}", [threading.Event(), None])
        say({"id": f"q{id}", "method": "roots/list", "params": {"of": id}})
        if not done[0].wait(10):
            return "nobody answered"
        return done[1]
    if method == "stderr":
        print(params["text"], file=sys.stderr, flush=True)
        return "printed"
    if method == "environment":
        return sys.argv[1:]
    if method == "initialize":
        version = next((arg[10:] for arg in sys.argv if arg.startswith("--version=")), params.get("protocolVersion"))
        state["client"] = params
        return {"protocolVersion": version, "serverInfo": {"name": "fake"}, "capabilities": {}}
    if method == "seen":
        return state
    if method == "ping":
        return {}
    raise LookupError(method)


def serve(message):
    id, method, params = message["id"], message["method"], message.get("params")
    try:
        result = do(id, method, params)
    except InterruptedError:
        return say({"id": id, "error": {"code": -32800, "message": "cancelled"}})
    except LookupError as error:
        return say({"id": id, "error": {"code": -32601, "message": f"no method {error}"}})
    except ValueError as error:
        return say({"id": id, "error": {"code": 13, "message": "it failed", "data": {"why": str(error)}}})
    if result is not None:
        say({"id": id, "result": result})


while (message := hear()) is not None:
    if "method" not in message:
        done = answers.setdefault(message["id"], [threading.Event(), None])
        done[1] = message.get("result", message.get("error"))
        done[0].set()
    elif "id" in message:
        if message["method"] == "block":
            time.sleep(message["params"]["s"])
            say({"id": message["id"], "result": "unblocked"})
        elif message["method"] in ("echo", "pid", "ping", "initialize", "count", "id"):
            serve(message)
        else:
            thread = threading.Thread(target=serve, args=[message], daemon=True)
            if message["method"] == "sleep":
                sleeps[message["id"]] = thread
            thread.start()
    elif message["method"] in ("notifications/cancelled", "$/cancelRequest"):
        id = message["params"].get("requestId", message["params"].get("id"))
        state.setdefault("cancelled", []).append(id)
        if "--ignore-cancel" not in sys.argv:
            cancelled.setdefault(id, threading.Event()).set()
            if id in sleeps:
                # Answered before the ping behind it is: after that one, the host waits for no answer.
                sleeps[id].join()
    elif message["method"] == "exit":
        os._exit(0)
    else:
        state.setdefault("notes", []).append(message["method"])
