wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"model":"stream","stream":true,"messages":[{"role":"user","content":"Hello"}]}'
