wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"model":"whole","stream":false,"messages":[{"role":"user","content":"Hello"}]}'
