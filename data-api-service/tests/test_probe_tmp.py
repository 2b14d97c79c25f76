"""hot reads vs FastAPI's own on odd requests"""
import asyncio, sys
sys.path.insert(0,'tests')
import pytest
from conftest import *  # noqa
ODD=[("GET","/api/v1/query/"),("GET","//api/v1/query"),("HEAD","/api/v1/query"),("OPTIONS","/api/v1/query"),("PUT","/api/v1/query"),("GET","/api/v1/query?query=1"),("GET","/prometheus/api/v1/query?query=1"),
("GET","/api/v1/label/a%2Fb/values"),("GET","/api/v1/label//values"),("GET","/api/v1/label/%00/values"),("GET","/api/v1/label/%7Bname%7D/values"),("POST","/api/v1/label/a/values"),("GET","/api/v1/label/values/values"),("GET","/api/v1/label/%ff/values"),
("GET","/api/v1/query?query=%ff"),("GET","/api/v1/query?query=1&time=zz"),("GET","/api/v1/query?query=1&limit=-1"),("GET","/api/v1/series"),("DELETE","/api/v1/series"),("GET","/api/v1/labels?match[]="),("GET","/api/v1/query?query=%00"),("GET","/api/v1/{name}/values"),("GET","/api/v1/label/{name}"),("GET","/api/v1/query?query=1&timeout=nan"),("GET","/api/v1/query_range?query=1&start=0&end=1e300&step=1"),("GET","/api/v1/query?query=1&lookback_delta=1e12")]
async def test_probe(serve, hub, tenant):
    a=await serve(); b=await serve()
    b._transport.app._reads.clear()
    for client in (a,b):
        client.headers["X-API-Key"]=hub.key(tenant)
    for m,u in ODD:
        for h in ({}, {"X-API-Key":"x"}, {"X-CloudOpsHub-Service":"dis"}):
            one=await a.request(m,u,headers=h); two=await b.request(m,u,headers=h)
            hs=[{k:v for k,v in r.headers.items() if k not in("x-request-id",)} for r in (one,two)]
            if (one.status_code,one.content,hs[0])!=(two.status_code,two.content,hs[1]): print("DIFF",m,u,h,one.status_code,one.content[:200],hs[0],two.status_code,two.content[:200],hs[1])
            elif not h: print(m,u,one.status_code,one.content[:90])
    for body,ct in ((b"query=1","application/x-www-form-urlencoded"),(b"x"*(2<<20),"application/x-www-form-urlencoded"),(b"query=1","text/plain"),(b"--a","multipart/form-data"),(b"q","application/json")):
        one=await a.post("/api/v1/query",content=body,headers={"content-type":ct}); two=await b.post("/api/v1/query",content=body,headers={"content-type":ct})
        print(ct,len(body),one.status_code,(one.status_code,one.content)==(two.status_code,two.content),one.content[:100])
