"""A stand-in for a model: an endpoint of OpenAI's protocol that marks the replies of a support desk by a rule. It needs the standard library alone.

python judge_server.py PORT. It ends after ten minutes without a request.
"""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def mark(request: str, answer: str) -> int:
    """2 for an apology, 2 for the thing that the request is about. Like many judges, it also likes long answers."""
    said = answer.split()
    thing = {word for word in request.split() if len(word) > 4} - {
        "please",
        "check",
        "again",
        "hello",
        "wrong",
        "reply",
    }
    return min(5, 1 + 2 * ("sorry" in said) + 2 * bool(thing & set(said)) + (len(said) > 6))


class Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        request, answer = (
            re.search(rf"\[(\w+) {name} BEGINS\]\n(.*?)\n\[\1 {name} ENDS\]", asked, re.S)[2]
            for name in ("PROMPT", "ANSWER")
        )
        said = json.dumps({"mark": mark(request, answer)})
        message = {"role": "assistant", "content": said}
        usage = {"prompt_tokens": len(asked) // 4, "completion_tokens": len(said) // 4}
        usage["total_tokens"] = sum(usage.values())
        reply = {"id": "1", "object": "chat.completion", "created": 0, "model": "rule", "usage": usage}
        reply["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
        body = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


class Server(ThreadingHTTPServer):
    timeout = 600

    def handle_timeout(self) -> None:
        sys.exit()


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1])), Endpoint)
    while True:
        server.handle_request()
