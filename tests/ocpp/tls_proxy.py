"""A proxy that ends TLS in front of EvPower, as a process of its own: CERTIFICATE HOST PORT."""

import asyncio
import ssl
import sys


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def main(certificate: str, host: str, port: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(host, port)
        peer = writer.get_extra_info("peername")[0]
        head = await reader.readuntil(b"\r\n\r\n")
        upstream_writer.write(head[:-2] + f"X-Forwarded-For: {peer}\r\n\r\n".encode())
        await asyncio.gather(_pass_on(reader, upstream_writer), _pass_on(upstream_reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
