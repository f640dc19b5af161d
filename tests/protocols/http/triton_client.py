"""Uses tritonclient as its users do; run by its own interpreter with URL and credentials.

Prints one JSON object of what came back.
"""

import base64
import json
import sys

import numpy as np
import tritonclient.http as triton


def main(url, user, model, picture_file, pixels_file):
    token = base64.b64encode(user.encode()).decode()

    def headers():  # a new one for each call: the client adds to the dictionary it is given
        return {"Authorization": f"Basic {token}"}

    client = triton.InferenceServerClient(url, ssl=False)
    found = {
        "live": client.is_server_live(headers=headers()),
        "ready": client.is_server_ready(headers=headers()),
        "model_ready": client.is_model_ready(model, headers=headers()),
        "server": client.get_server_metadata(headers=headers()),
        "model": client.get_model_metadata(model, headers=headers()),
    }
    with open(picture_file, "rb") as stream:
        picture = stream.read()
    pixels = np.load(pixels_file)

    files = triton.InferInput("image", [1], "BYTES")
    files.set_data_from_numpy(np.array([picture], dtype=object), binary_data=True)
    found["files"] = scores(client.infer(model, [files], headers=headers(), request_id="seven"))
    found["id"] = client.infer(model, [files], headers=headers(), request_id="seven").get_response()["id"]

    for name, binary in (("binary", True), ("json", False)):
        tensor = triton.InferInput("image", list(pixels.shape), "UINT8")
        tensor.set_data_from_numpy(pixels, binary_data=binary)
        outputs = [
            triton.InferRequestedOutput("scores", binary_data=binary),
            triton.InferRequestedOutput("label", binary_data=binary),
        ]
        found[name] = scores(client.infer(model, [tensor], outputs=outputs, headers=headers()))
    best = [triton.InferRequestedOutput("scores", class_count=2)]
    found["classes"] = [
        text.decode()
        for text in client.infer(model, [files], outputs=best, headers=headers()).as_numpy("scores").ravel()
    ]
    try:
        client.infer("no-such-model", [files], headers=headers())
    except triton.InferenceServerException as error:
        found["unknown"] = [error.status(), error.message()]
    running = [client.async_infer(model, [files], headers=headers()) for _ in range(8)]
    found["async"] = [scores(each.get_result()) for each in running]
    client.close()
    print(json.dumps(found))


def scores(result):
    labels = [label if isinstance(label, str) else label.decode() for label in result.as_numpy("label").tolist()]
    return {"scores": result.as_numpy("scores").tolist(), "label": labels}


main(*sys.argv[1:])
