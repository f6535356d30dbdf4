"""Clients that are not ours, against the simulator and the engine. See .ci/clients."""

import sys


def routeros(port):
    """librouteros and RouterOS-api: login (both ways), print, query, add, set, remove, trap."""
    import librouteros
    import routeros_api
    from librouteros.exceptions import MultiTrapError, TrapError
    from librouteros.login import plain, token
    from librouteros.query import Key

    for last, version in enumerate(["7.16.2", "7.18.2", "6.49.17", "6.40"], start=1):
        host = f"127.91.0.{last}"
        method = token if version == "6.40" else plain
        api = librouteros.connect(host=host, username="admin", password="", port=int(port), login_method=method)
        assert next(iter(api("/system/resource/print")))["version"].startswith(version)
        added = list(api("/ip/address/add", address="10.77.0.1/24", interface="ether1"))[0]["ret"]
        address = Key("address")
        found = list(api.path("/ip/address").select(Key(".id"), address).where(address == "10.77.0.1/24"))
        assert [row[".id"] for row in found] == [added], found
        api.path("/ip/address").update(**{".id": added, "comment": "a=b"})
        api.path("/ip/address").remove(added)
        assert not list(api.path("/ip/address").select(address).where(address == "10.77.0.1/24")), "empty again"
        try:
            list(api("/no/such/thing"))
            raise AssertionError("an unknown path must trap")
        except (MultiTrapError, TrapError) as error:
            assert "no such command" in str(error)
        api.close()

        pool = routeros_api.RouterOsApiPool(host, username="admin", password="", port=int(port), plaintext_login=version != "6.40")
        services = pool.get_api().get_resource("/ip/service").get(name="telnet")
        assert services[0]["port"] == "23", services
        pool.disconnect()
        print(f"librouteros and RouterOS-api: {version} passed")


def grpc(address, port):
    """grpcio: the README's example, over the four simulated devices."""
    import grpc
    from muster.v1 import common_pb2 as common, credential_pb2 as credential, credential_pb2_grpc as credential_rpc
    from muster.v1 import device_pb2 as device, device_pb2_grpc as device_rpc, job_pb2 as job, job_pb2_grpc as job_rpc

    channel = grpc.insecure_channel(address)
    credential_rpc.CredentialServiceStub(channel).SetCredential(
        credential.SetCredentialRequest(name="default", username="admin"))
    devices = [device.Device(name=f"r{n}", address=f"127.91.0.{n}", port=int(port)) for n in range(1, 5)]
    done = device_rpc.DeviceServiceStub(channel).ImportDevices(iter([device.ImportDevicesRequest(devices=devices)]))
    assert done.created == 4, done

    jobs = job_rpc.JobServiceStub(channel)
    command = common.Command(words=["/system/resource/print", ".proplist=version"])
    spec = job.JobSpec(all=True, plan=common.Plan(steps=[common.Step(command=command)]))
    made = jobs.CreateJob(job.CreateJobRequest(spec=spec, request_id="once")).job
    assert jobs.CreateJob(job.CreateJobRequest(spec=spec, request_id="once")).job.id == made.id
    results = [result for news in jobs.WatchJob(job.WatchJobRequest(id=made.id, results=True)) for result in news.results]
    assert [result.state for result in results] == [common.EXECUTION_STATE_SUCCEEDED] * 4, results
    versions = sorted(result.steps[0].rows[0].attributes[0].value.split()[0] for result in results)
    assert versions == ["6.40", "6.49.17", "7.16.2", "7.18.2"], versions
    try:
        jobs.CreateJob(job.CreateJobRequest(spec=job.JobSpec()))
        raise AssertionError("an empty job must be refused")
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error
    try:
        jobs.PauseJob(job.PauseJobRequest(id=made.id))
        raise AssertionError("a job that is over cannot be paused")
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION, error
    print("grpcio: passed")


def duckdb(muster, engine, work):
    """DuckDB: the rows of an export, counted by it and by muster, are the same."""
    import json
    import subprocess

    import duckdb

    def run(*words):
        done = subprocess.run([muster, "--engine", engine, *words], stdout=subprocess.PIPE, check=False)
        return [json.loads(line) for line in done.stdout.splitlines()]

    run("run", "--all", "--json", "--", "/interface/print")
    job = run("job", "list", "--limit", "1", "--json")[0]["job"]
    names = ["type", "disabled", "mtu"]
    groups = run("job", "aggregate", job, "--group-by", ",".join(names), "--json")
    counted = {(*(group["key"][name] for name in names), group["rows"], group["devices"]) for group in groups}
    assert len(counted) > 2, counted
    for kind in ["parquet", "jsonl"]:
        subprocess.run([muster, "--engine", engine, "job", "export", job, "-o", f"{work}/rows.{kind}"], check=True)
        query = f"SELECT {', '.join(names)}, count(*), count(DISTINCT execution) FROM '{work}/rows.{kind}' GROUP BY ALL"
        found = set(duckdb.connect().execute(query).fetchall())
        assert found == counted, (kind, found ^ counted)
    print("DuckDB: passed")


if __name__ == "__main__":
    {"routeros": routeros, "grpc": grpc, "duckdb": duckdb}[sys.argv[1]](*sys.argv[2:])
